//! Robots, which have no wallet.

use posemesh_dev_dds::{DevDds, Endpoint, Fault, TokenFormat};
use serde_json::{Value, json};

use crate::client::{Answer, Node, OK, Wallet, claims, post, post_with_token};

/// base64 of `01234567-89ab-cdef-0123-456789abcdef:secret`
const CREDENTIALS: &str = "MDEyMzQ1NjctODlhYi1jZGVmLTAxMjMtNDU2Nzg5YWJjZGVmOnNlY3JldA==";
const ROBOT_ID: &str = "01234567-89ab-cdef-0123-456789abcdef";
/// base64 of `01234567-89ab-cdef-0123-456789abcdef:another`
const OTHER_SECRET: &str = "MDEyMzQ1NjctODlhYi1jZGVmLTAxMjMtNDU2Nzg5YWJjZGVmOmFub3RoZXI=";
const DOMAIN_ID: &str = "12345678-1234-1234-1234-123456789abc";

fn registration(credentials: &str) -> Value {
    json!({ "registration_credentials": credentials, "version": "v1.2.3", "capabilities": ["/robot/v1"] })
}

fn register(dds: &DevDds) -> Answer {
    post(dds, Endpoint::RegisterRobot, &registration(CREDENTIALS))
}

fn verify(dds: &DevDds, credentials: &str) -> Answer {
    post(dds, Endpoint::VerifyRobot, &json!({ "registration_credentials": credentials }))
}

fn token(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].clone()
}

#[test]
fn a_robot_gets_its_first_token_with_the_registration() {
    let dds = DevDds::start().unwrap();
    let answer = register(&dds);
    assert_eq!(answer.json()["robot_id"], ROBOT_ID);
    assert!(answer.json()["access_expires_at"].is_string());
    assert!(dds.accepts_token(token(&answer).as_str().unwrap()));
    let [robot] = &dds.nodes()[..] else { panic!("{:?}", dds.nodes()) };
    assert_eq!((robot.wallet.as_deref(), robot.node_id.as_str()), (None, ROBOT_ID));
    assert_eq!((robot.version.as_str(), robot.registrations), ("v1.2.3", 1));
    assert_eq!(robot.capabilities, ["/robot/v1"]);
}

#[test]
fn every_later_token_needs_only_the_credentials() {
    let dds = DevDds::start().unwrap();
    let first = token(&register(&dds));
    let answer = verify(&dds, CREDENTIALS);
    assert_eq!(answer.json()["robot_id"], ROBOT_ID);
    assert_ne!(token(&answer), first);
    assert_eq!(dds.nodes()[0].registrations, 1);
}

#[test]
fn capabilities_are_optional_for_a_robot() {
    let dds = DevDds::start().unwrap();
    let body = json!({ "registration_credentials": "any", "version": "1.0.0" });
    let answer = post(&dds, Endpoint::RegisterRobot, &body);
    assert_eq!(answer.json()["robot_id"], dds.nodes()[0].node_id);
    assert!(dds.nodes()[0].capabilities.is_empty());
}

#[test]
fn a_robot_without_a_uuid_in_its_credentials_gets_a_stable_id() {
    let dds = DevDds::start().unwrap();
    let id = |credentials: &str| {
        post(&dds, Endpoint::RegisterRobot, &registration(credentials)).json()["robot_id"].clone()
    };
    assert_eq!(id("one"), id("one"));
    assert_ne!(id("one"), id("two"));
}

#[test]
fn malformed_requests_of_robots_are_bad_requests() {
    let dds = DevDds::start().unwrap();
    for (name, value) in
        [("version", json!("1.2")), ("version", json!(null)), ("registration_credentials", json!(1))]
    {
        let mut bad = registration(CREDENTIALS);
        bad[name] = value;
        assert_eq!(post(&dds, Endpoint::RegisterRobot, &bad).status, 400, "{bad}");
    }
    assert_eq!(post(&dds, Endpoint::VerifyRobot, &json!({})).status, 400);
    assert!(dds.nodes().is_empty());
}

#[test]
fn a_robot_with_other_credentials_is_refused() {
    let dds = DevDds::builder().credentials(CREDENTIALS.to_owned()).start().unwrap();
    assert_eq!(post(&dds, Endpoint::RegisterRobot, &registration("other")).status, 401);
    register(&dds);
    assert_eq!(verify(&dds, "other").status, 401);

    let dds = DevDds::start().unwrap();
    assert_eq!(post(&dds, Endpoint::RegisterRobot, &registration("")).status, 401);
    register(&dds);
    let refused = verify(&dds, OTHER_SECRET);
    assert_eq!((refused.status, refused.text().as_str()), (403, "node not found"));
}

#[test]
fn an_unknown_or_forgotten_robot_gets_no_token() {
    let dds = DevDds::start().unwrap();
    let assert_not_found = |answer: Answer| {
        assert_eq!((answer.status, answer.text().as_str()), (403, "node not found"));
    };
    assert_not_found(verify(&dds, CREDENTIALS));
    let token = token(&register(&dds));
    dds.forget(ROBOT_ID);
    assert!(!dds.accepts_token(token.as_str().unwrap()));
    assert_not_found(verify(&dds, CREDENTIALS));
    register(&dds);
    assert_eq!(verify(&dds, CREDENTIALS).status, 200);
}

#[test]
fn the_token_of_a_robot_has_the_claims_of_production() {
    let dds = DevDds::start().unwrap();
    let claims = claims(&token(&register(&dds))).unwrap();
    assert_eq!(claims["node_id"], ROBOT_ID);
    assert_eq!(claims["node_type"], "robot");
    assert_eq!(claims["node_mode"], "dedicated");
    assert_eq!(claims["capabilities"], json!(["/robot/v1"]));
    for id in ["organization_id", "assigned_domain_id"] {
        assert_eq!(claims[id].as_str().unwrap().len(), 36, "{id}");
    }
}

#[test]
fn tokens_are_as_the_settings_say() {
    let dds = DevDds::builder().token_format(TokenFormat::Opaque).start().unwrap();
    let opaque = token(&register(&dds));
    assert_eq!(claims(&opaque), None);
    assert!(dds.accepts_token(opaque.as_str().unwrap()));

    let Value::Object(changes) = json!({ "assigned_domain_id": DOMAIN_ID, "node_mode": null }) else {
        unreachable!()
    };
    let dds = DevDds::builder().token_claims(changes).start().unwrap();
    let claims = claims(&token(&register(&dds))).unwrap();
    assert_eq!((&claims["assigned_domain_id"], claims.get("node_mode")), (&json!(DOMAIN_ID), None));

    let dds = DevDds::builder().token_identity(false).start().unwrap();
    Wallet::new(1).register(&dds);
    let answer = Wallet::new(1).token(&dds).json();
    assert_eq!((answer.get("node_id"), answer.get("wallet")), (None, None));
    assert!(answer["access_token"].is_string());
}

#[test]
fn a_robot_exchanges_its_token_for_one_of_a_domain() {
    let dds = DevDds::start().unwrap();
    let access = token(&register(&dds));
    let body = json!({ "domain_id": DOMAIN_ID });

    let domain = post_with_token(&dds, Endpoint::DomainToken, &access, &body).json();
    assert_eq!(domain["domain_id"], DOMAIN_ID);
    assert!(domain["domain_server_url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert_eq!(claims(&domain["access_token"]).unwrap()["domain_id"], DOMAIN_ID);

    let peers = post_with_token(&dds, Endpoint::P2pToken, &access, &body).json();
    assert!(peers["p2p_access_expires_at"].is_string());
    for token in [&domain["access_token"], &peers["p2p_access_token"]] {
        assert!(dds.accepts_token(token.as_str().unwrap()));
        // It is not an access token for DDS.
        assert_eq!(post_with_token(&dds, Endpoint::DomainToken, token, &body).status, 401);
    }
}

#[test]
fn a_domain_token_needs_the_token_of_a_robot() {
    let dds = DevDds::start().unwrap();
    let body = json!({ "domain_id": DOMAIN_ID });
    for endpoint in [Endpoint::DomainToken, Endpoint::P2pToken] {
        assert_eq!(post(&dds, endpoint, &body).status, 401);
        assert_eq!(post_with_token(&dds, endpoint, &json!("made-up"), &body).status, 401);
        Wallet::new(1).register(&dds);
        let wallets = token(&Wallet::new(1).token(&dds));
        assert_eq!(post_with_token(&dds, endpoint, &wallets, &body).status, 403);
        let robots = token(&register(&dds));
        let bad = json!({ "domain_id": "home" });
        assert_eq!(post_with_token(&dds, endpoint, &robots, &bad).status, 400);
        dds.forget(ROBOT_ID);
        assert_eq!(post_with_token(&dds, endpoint, &robots, &body).status, 401);
    }
}

#[test]
fn the_answer_to_a_robot_can_be_patched() {
    let dds = DevDds::start().unwrap();
    let patch = |fields: Value| match fields {
        Value::Object(fields) => dds.inject(Endpoint::RegisterRobot, Fault::Patch { fields }, 1),
        _ => unreachable!("an object"),
    };
    patch(json!({ "robot_id": null }));
    let answer = register(&dds);
    assert_eq!(answer.json().get("robot_id"), None);
    assert!(dds.accepts_token(token(&answer).as_str().unwrap()), "the registration has its effect");
    patch(json!({ "robot_id": "00000000-0000-0000-0000-000000000000", "extra": 1 }));
    let answer = register(&dds).json();
    assert_eq!(answer["robot_id"], "00000000-0000-0000-0000-000000000000");
    assert_eq!(answer["extra"], 1);
    // A refusal stays as it is.
    patch(json!({ "robot_id": "someone-else" }));
    assert_eq!(post(&dds, Endpoint::RegisterRobot, &json!({})).status, 400);
    assert_eq!(register(&dds).json()["robot_id"], ROBOT_ID);
}

#[test]
fn an_empty_answer_can_be_patched() {
    let dds = DevDds::start().unwrap();
    let fields = [("ok".to_owned(), json!(true))].into_iter().collect();
    dds.inject(Endpoint::Register, Fault::Patch { fields }, 1);
    assert_eq!(Wallet::new(1).register(&dds).json(), json!({ "ok": true }));
}

#[test]
fn every_endpoint_has_faults() {
    let dds = DevDds::start().unwrap();
    for endpoint in Endpoint::ALL {
        dds.inject(endpoint, Fault::status(503), 1);
        assert_eq!(post(&dds, endpoint, &json!({})).status, 503, "{endpoint:?}");
        dds.inject(endpoint, Fault::Garbage, 1);
        assert_eq!(post(&dds, endpoint, &json!({})).text(), "<html>not JSON</html>", "{endpoint:?}");
        let recorded = dds.requests_to(endpoint);
        assert_eq!(recorded.len(), 2);
        assert_eq!(serde_json::to_value(endpoint).unwrap(), endpoint.name());
    }
}

#[test]
fn a_robot_whose_url_is_known_is_called_back() {
    let node = Node::start(&[OK]);
    let url = node.url.clone();
    let dds =
        DevDds::builder().find_node(move |id, _| (id == ROBOT_ID).then(|| url.clone())).start().unwrap();
    register(&dds);
    let request = node.request();
    assert!(request.starts_with("POST /internal/v1/registrations "), "{request}");
    assert!(request.contains(ROBOT_ID), "{request}");
}
