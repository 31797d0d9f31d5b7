// Two Rust libraries in one program, and each works.

#include <stdio.h>

#include "posemesh_node.h"

int other_panics(void);

int main(void)
{
    pmn_error *error = NULL;
    pmn_config *config = pmn_config_new();
    if (pmn_config_load_env(config, &error) != PMN_OK || other_panics() != 42) {
        return 1;
    }
    pmn_node *node = NULL;
    if (pmn_node_start(config, &node, &error) != PMN_OK ||
        pmn_node_wait(node, PMN_WAIT_REGISTERED, 240000) != PMN_OK || other_panics() != 42) {
        return 1;
    }
    pmn_node_free(node);
    pmn_config_free(config);
    printf("both work\n");
    return 0;
}
