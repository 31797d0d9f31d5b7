// Leaks an error object on purpose: the checkers that run the other programs must notice.

#include "check.h"

int main(void)
{
    pmn_error *error = NULL;
    EXPECT(PMN_ERR_INVALID_ARGUMENT, pmn_config_set(NULL, "node_version", "1.0.0", &error));
    error = NULL;
    return 0;
}
