/* Contexts of these tests have no kernels: they link the core room alone. What the compute room's hook does can be
 * changed, to see how the core room takes it. */
#include "helper.h"

rlhf_status (*attach_hook)(rlhf_context *context);

rlhf_status rlhfi_compute_attach(rlhf_context *context)
{
    return attach_hook == NULL ? RLHF_OK : attach_hook(context);
}
