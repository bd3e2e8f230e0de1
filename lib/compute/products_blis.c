/* BLIS for large products, through its own extension point: a copy of its context object with our micro-kernel and
 * block sizes. The micro-kernel is the tile that our own loops use, and KC is the length of a chain, so the bits are
 * those of compute.h; a probe at context creation proves it on this machine, else our own loops do all products.
 *
 * The layout of the context object changes between versions of BLIS: the running library must be the version that
 * the header was checked with when we were built (RLHFI_BLIS_VERSION, lib/compute/meson.build). */
#include "compute/state.h"

#include "rlhf_config.h"

#if RLHFI_HAVE_BLIS && defined(RLHFI_BLIS_VERSION)

#include <blis.h>

enum {
    ROWS = 24, COLUMNS = 16,                     /* MR, NR: sizes for which BLIS has packing kernels */
    ROW_BLOCK = 480, COLUMN_BLOCK = 3072,        /* MC, NC */
    TILE_ROWS = 480, TILE_COLUMNS = 768,         /* of the tiles of C that threads take */
    LEAST_ROWS = 256, LEAST_COLUMNS = 512, LEAST_K = 512 /* below, its overhead is certain to show */
};

struct blis {
    cntx_t context;
    rntm_t runtime;
};

/* BLIS hands a panel of A [k][ROWS] and one of B [k][COLUMNS]; m and n are what is left at the edges. */
static void run_kernel(const rlhfi_kernels *kernels, dim_t m, dim_t n, dim_t k, const float *alpha, const float *a,
                       const float *b, const float *beta, float *c, inc_t row, inc_t column)
{
    rlhfi_block work = {.m = m, .n = n, .k = k, .a = a, .a_row = 1, .a_step = ROWS, .b = b, .ldb = COLUMNS,
                        .panel_stride = COLUMNS * k, .accumulate = 1, .c = c, .ldc = row};
    float tile[ROWS * COLUMNS];

    if (column == 1 && *alpha == 1.0f && (*beta == 0.0f || *beta == 1.0f)) { /* all that we ever ask for */
        work.accumulate = *beta == 1.0f;
        kernels->product(&work);
        return;
    }
    work.accumulate = 0;
    work.c = tile;
    work.ldc = COLUMNS;
    kernels->product(&work);
    for (dim_t i = 0; i < m; i++) {
        for (dim_t j = 0; j < n; j++) {
            float *to = c + i * row + j * column, sum = *alpha * tile[i * COLUMNS + j];
            *to = *beta == 0.0f ? sum : *beta * *to + sum;
        }
    }
}

#define MICRO_KERNEL(name)                                                                                             \
    static void micro_kernel_##name(dim_t m, dim_t n, dim_t k, float *alpha, float *a, float *b, float *beta,          \
                                    float *c, inc_t row, inc_t column, auxinfo_t *data, cntx_t *context)               \
    {                                                                                                                  \
        (void)data;                                                                                                    \
        (void)context;                                                                                                 \
        run_kernel(&rlhfi_kernels_##name, m, n, k, alpha, a, b, beta, c, row, column);                                 \
    }

#if RLHFI_HAVE_X86_SIMD
MICRO_KERNEL(avx2)
MICRO_KERNEL(avx512)
#endif

static void_fp micro_kernel_of(const rlhfi_kernels *kernels)
{
#if RLHFI_HAVE_X86_SIMD
    if (kernels == &rlhfi_kernels_avx2)
        return (void_fp)micro_kernel_avx2;
    if (kernels == &rlhfi_kernels_avx512)
        return (void_fp)micro_kernel_avx512;
#endif
    return NULL; /* plain C gains nothing from BLIS */
}

static void install(struct blis *blis, void_fp micro_kernel)
{
    static const struct {
        bszid_t id;
        dim_t size;
    } sizes[] = {{BLIS_MR, ROWS}, {BLIS_NR, COLUMNS}, {BLIS_MC, ROW_BLOCK}, {BLIS_KC, RLHFI_CHUNK},
                 {BLIS_NC, COLUMN_BLOCK}};
    cntx_t *context = &blis->context;

    *context = *bli_gks_query_cntx();
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bli_cntx_set_blksz_def_dt(BLIS_FLOAT, sizes[i].id, sizes[i].size, context);
        bli_cntx_set_blksz_max_dt(BLIS_FLOAT, sizes[i].id, sizes[i].size, context);
    }
    bli_func_set_dt(micro_kernel, BLIS_FLOAT, &context->l3_vir_ukrs[BLIS_GEMM_UKR]);
    bli_func_set_dt(micro_kernel, BLIS_FLOAT, &context->l3_nat_ukrs[BLIS_GEMM_UKR]);
    bli_mbool_set_dt(TRUE, BLIS_FLOAT, &context->l3_nat_ukrs_prefs[BLIS_GEMM_UKR]); /* C by rows */
    blis->runtime = (rntm_t)BLIS_RNTM_INITIALIZER;
    bli_rntm_set_num_threads(1, &blis->runtime);
    bli_rntm_disable_l3_sup(&blis->runtime);
}

static void multiply(const struct blis *blis, const rlhfi_block *work, int64_t b_row, int64_t b_column)
{
    struct blis mine = {.runtime = blis->runtime}; /* BLIS writes into the runtime object */
    float one = 1.0f, start = work->accumulate ? 1.0f : 0.0f;

    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, work->m, work->n, work->k, &one, (float *)work->a, work->a_row,
                 work->a_step, (float *)work->b, b_row, b_column, &start, work->c, work->ldc, 1,
                 (cntx_t *)&blis->context, &mine.runtime);
}

/* A product over all kinds of edges against our own loops, bit for bit. */
static bool probe(rlhf_context *context, const struct blis *blis)
{
    enum { M = 29, N = 71, K = 2 * RLHFI_CHUNK + 5, COUNT = M * K + N * K + 2 * M * N };
    float *a = rlhfi_alloc_array(context, COUNT, sizeof *a), *b = a + M * K, *c = b + N * K, *want = c + M * N;
    bool same = a != NULL;

    if (a == NULL)
        return false;
    for (int64_t i = 0; i < COUNT; i++)
        a[i] = (float)(i * 7919 % 2003 - 1001) * 0x1.3p-10f;
    for (int accumulate = 0; accumulate < 2 && same; accumulate++) {
        rlhfi_block work = {.m = M, .n = N, .k = K, .a = a, .a_row = K, .a_step = 1, .b = b, .ldb = N,
                            .panel_stride = RLHFI_PANEL, .accumulate = accumulate, .c = want, .ldc = N};
        memcpy(want, c, M * N * sizeof *c);
        rlhfi_kernels_of(context)->product(&work);
        work.c = c;
        multiply(blis, &work, N, 1);
        same = memcmp(c, want, M * N * sizeof *c) == 0;
    }
    rlhfi_free(context, a);
    return same;
}

void rlhfi_blis_attach(rlhf_context *context)
{
    void_fp micro_kernel = micro_kernel_of(rlhfi_kernels_of(context));
    struct blis *blis;

    if (!context->use_blis || micro_kernel == NULL || strcmp(bli_info_get_version_str(), RLHFI_BLIS_VERSION) != 0)
        return;
    blis = rlhfi_calloc(context, 1, sizeof *blis);
    if (blis == NULL)
        return; /* our own loops need nothing */
    install(blis, micro_kernel);
    if (probe(context, blis)) {
        rlhfi_compute_of(context)->blis = blis;
        return;
    }
    rlhfi_log(context, RLHF_LOG_WARNING, "BLIS %s: products differ from the specified order, own loops are used",
              bli_info_get_version_str());
    rlhfi_free(context, blis);
}

void rlhfi_blis_detach(rlhf_context *context)
{
    rlhfi_free(context, rlhfi_compute_of(context)->blis);
    rlhfi_compute_of(context)->blis = NULL;
}

const char *rlhfi_blis_version(void) { return bli_info_get_version_str(); }

bool rlhfi_blis_suits(const rlhf_context *context, int64_t m, int64_t n, int64_t k)
{
    return rlhfi_compute_of(context)->blis != NULL && m >= LEAST_ROWS && n >= LEAST_COLUMNS && k >= LEAST_K;
}

struct tiles {
    const struct blis *blis;
    rlhfi_block whole;
    int64_t b_row, b_column, row_tiles;
};

static void run_tile(void *argument, int64_t index, int32_t worker)
{
    const struct tiles *tiles = argument;
    rlhfi_block work = tiles->whole;
    int64_t i = index % tiles->row_tiles * TILE_ROWS, j = index / tiles->row_tiles * TILE_COLUMNS;

    (void)worker;
    work.m = work.m - i < TILE_ROWS ? work.m - i : TILE_ROWS;
    work.n = work.n - j < TILE_COLUMNS ? work.n - j : TILE_COLUMNS;
    work.a += i * work.a_row;
    work.b += j * tiles->b_column;
    work.c += i * work.ldc + j;
    multiply(tiles->blis, &work, tiles->b_row, tiles->b_column);
    for (int64_t r = 0; work.bias != NULL && r < work.m; r++)
        for (int64_t s = 0; s < work.n; s++)
            work.c[r * work.ldc + s] += work.bias[j + s];
}

void rlhfi_blis_product(rlhf_context *context, const rlhfi_block *work, int64_t b_row, int64_t b_column)
{
    struct tiles tiles = {rlhfi_compute_of(context)->blis, *work, b_row, b_column,
                          (work->m + TILE_ROWS - 1) / TILE_ROWS};

    rlhfi_parallel(context, tiles.row_tiles * ((work->n + TILE_COLUMNS - 1) / TILE_COLUMNS), run_tile, &tiles);
}

#else /* without BLIS, or with one that we do not know */

void rlhfi_blis_attach(rlhf_context *context) { (void)context; }
void rlhfi_blis_detach(rlhf_context *context) { (void)context; }
const char *rlhfi_blis_version(void) { return NULL; }

bool rlhfi_blis_suits(const rlhf_context *context, int64_t m, int64_t n, int64_t k)
{
    (void)context, (void)m, (void)n, (void)k;
    return false;
}

void rlhfi_blis_product(rlhf_context *context, const rlhfi_block *work, int64_t b_row, int64_t b_column)
{
    (void)context, (void)work, (void)b_row, (void)b_column;
}

#endif
