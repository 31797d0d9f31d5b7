// A robot in C++: it has registration credentials and no key. It registers, and each request to a service behind DDS
// gets an access token.
//
//     c++ -std=c++17 robot.cpp $(pkg-config --cflags --libs posemesh_node) -o robot
//     export ROBOT_REGISTRATION_CREDENTIALS=... NODE_VERSION=1.0.0
//     ./robot

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "posemesh_node.hpp"

using namespace std::chrono_literals;

int main()
{
    try {
        posemesh::Node robot(posemesh::Config().set("identity", "robot").load_env());
        robot.wait_registered(60s);
        std::cout << "robot " << robot.node_id().value_or("without an id") << '\n';

        posemesh::AccessToken token = robot.access_token(60s);
        std::cout << "token of " << token.value.size() << " bytes\n";
        // Send your request here. If the service responds with 401, call robot.invalidate_token_if(token.value).
        posemesh::wipe(token.value);

        // Such as the domain that the robot is assigned to. The claims are a JSON object, and are not verified.
        std::cout << "claims " << robot.token_claims().value_or("{}") << '\n';
        robot.stop(5s);
        return EXIT_SUCCESS;
    } catch (const posemesh::Error &error) {
        std::cerr << error.name() << ": " << error.what() << '\n';
        return EXIT_FAILURE;
    }
}
