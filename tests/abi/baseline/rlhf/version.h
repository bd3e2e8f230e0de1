/* Version of the public interface: the soname is RLHF_API_MAJOR. While it is 0, NEWS says whether the ABI moved. */
#ifndef RLHF_VERSION_H
#define RLHF_VERSION_H

#define RLHF_API_MAJOR 0
#define RLHF_API_MINOR 1
#define RLHF_API_PATCH 0
#define RLHF_API_VERSION (RLHF_API_MAJOR * 0x10000 + RLHF_API_MINOR * 0x100 + RLHF_API_PATCH)

#endif
