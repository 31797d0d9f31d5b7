// Leaks error objects on purpose: the checkers that run the other programs must report it. Several objects, because a
// checker does not report one whose address is still in a register or on the stack.

#include "check.h"

int main(void)
{
    for (int i = 0; i < 16; i++) {
        pmn_error *error = NULL;
        EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set(NULL, "node_version", "1.0.0", &error));
    }
    return 0;
}
