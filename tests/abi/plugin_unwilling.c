/* A plugin that registers something and then refuses. */
#include <rlhf/rlhf.h>

RLHF_API rlhf_status rlhf_plugin_register(rlhf_plugin_host *host);

static rlhf_status make(void *user_data, rlhf_context *context, const char *argument, rlhf_objective **out)
{
    (void)user_data, (void)context, (void)argument, (void)out;
    return RLHF_E_USER_FIRST;
}

rlhf_status rlhf_plugin_register(rlhf_plugin_host *host)
{
    host->plugin_version = RLHF_API_VERSION;
    rlhf_plugin_add_objective(host->context, "unwilling", make, NULL, NULL);
    return RLHF_E_USER_FIRST - 7;
}
