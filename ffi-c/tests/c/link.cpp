// The header from C++: the functions are found under their C names.

#include "posemesh_node.h"

int main()
{
    pmn_config *config = pmn_config_new();
    bool ok = config != nullptr && pmn_config_set(config, "node_version", "1.0.0", nullptr) == PMN_OK;
    pmn_config_free(config);
    return ok && pmn_abi_version() == PMN_ABI_VERSION ? 0 : 1;
}
