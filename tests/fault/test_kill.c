/* A run that is killed at any instant and started again leaves the same bytes as one that was left alone. The program
 * runs itself as the victim: "test_kill METHOD DIRECTORY" goes on with the run there until it is done or dead. */
#include "unit/training/runs.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { KILLS = 12, STEPS = 6 };

/* PPO with the value model on the policy's trunk: its head stands in the state, not in the model's files. */
static const char one_trunk[] = "ppo on one trunk";

/* ---- the victim -------------------------------------------------------------------------------------------------- */

static int train(const char *method, const char *directory)
{
    rlhf_context *context = make_context(1, ~0u, 1);
    struct parts parts;
    rlhf_trainer *trainer;
    rlhf_status status;
    char text[512], steps[16];

    make_parts(&parts, context, strcmp(method, one_trunk) == 0 ? "ppo" : method);
    if (strcmp(method, one_trunk) == 0)
        set(context, parts.recipe, "share_value_trunk", "true");
    snprintf(steps, sizeof steps, "%d", STEPS);
    set(context, parts.recipe, "max_steps", steps);
    set(context, parts.recipe, "save_steps", "1");
    set(context, parts.recipe, "save_total_limit", "2");
    parts.options.output_dir = directory;
    parts.options.resume = 1;
    status = rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options);
    if (status == RLHF_OK)
        status = rlhf_trainer_run(trainer);
    if (status != RLHF_OK) {
        rlhf_context_error(context, text, sizeof text);
        fprintf(stderr, "%s: %s\n", rlhf_status_name(status), text);
    }
    rlhf_trainer_release(&trainer);
    release_parts(&parts);
    rlhf_context_release(&context);
    return status == RLHF_OK ? 0 : 1;
}

/* ---- the killer -------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static pid_t start(const char *method, const char *directory)
{
    pid_t child = fork();

    if (child == 0) {
        execl("/proc/self/exe", "test_kill", method, directory, (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    return child;
}

/* Waits for the child, and kills it when its time is up. True if it was killed. */
static bool finish_or_kill(pid_t child, double seconds)
{
    double end = now() + seconds;
    struct timespec nap = {0, 200000};
    int status = 0;
    pid_t done;

    while ((done = waitpid(child, &status, WNOHANG)) == 0 && now() < end)
        nanosleep(&nap, NULL);
    if (done == 0) {
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (WIFSIGNALED(status))
        fail_msg("the run died of signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        fail_msg("the run failed: exit status %d", WEXITSTATUS(status));
    return false;
}

static void same_file(rlhf_context *context, const char *a, const char *b, const char *name)
{
    char path[4096], *bytes[2];
    size_t count[2];

    for (int side = 0; side < 2; side++) {
        snprintf(path, sizeof path, "%s/%s", side == 0 ? a : b, name);
        CHECK(context, rlhfi_file_load(context, path, 1 << 24, &bytes[side], &count[side]));
    }
    if (count[0] != count[1] || memcmp(bytes[0], bytes[1], count[0]) != 0)
        fail_msg("%s differs after the kills", name);
    rlhfi_free(context, bytes[0]);
    rlhfi_free(context, bytes[1]);
}

/* The receipt names the directory in its recipe; what comes before is the same. */
static void same_result(rlhf_context *context, const char *a, const char *b)
{
    char path[4096], text[2][128];

    for (int side = 0; side < 2; side++) {
        rlhfi_json *receipt;
        const rlhfi_json *result;
        const char *role, *hex;
        void *iterator = NULL;
        snprintf(path, sizeof path, "%s/receipt.json", side == 0 ? a : b);
        CHECK(context, rlhfi_json_load(&receipt, context, path, 1 << 20));
        assert_true(rlhfi_json_next(rlhfi_json_get(receipt, "result"), &iterator, &role, &result));
        hex = rlhfi_json_text(result, NULL);
        snprintf(text[side], sizeof text[side], "%s %s", role, hex);
        rlhfi_json_release(&receipt);
    }
    assert_string_equal(text[0], text[1]);
}

/* Starts and kills until a run gets through; returns how often it was killed before. */
static int run_under_fire(const char *method, const char *directory, double seconds, uint32_t *draw)
{
    uint32_t random[4];
    int kills = 0;

    do {
        rlhfi_random4(17, RLHFI_RANDOM_USER, (*draw)++, 0, 0, random);
    } while (finish_or_kill(start(method, directory), 0.5 * seconds * (double)random[0] / 4294967296.0) && ++kills > 0);
    return kills;
}

static void killed_run(void **state)
{
    const char *method = *state;
    rlhf_context *context = NULL;
    char root[64], whole[128], killed[128], name[64];
    double began, seconds;
    int kills = 0, runs = 0;
    uint32_t draw = 0;

    make_directory(root);
    snprintf(whole, sizeof whole, "%s/whole", root);
    began = now();
    assert_false(finish_or_kill(start(method, whole), 1e9));
    seconds = now() - began;
    for (; kills < KILLS; runs++) {
        snprintf(killed, sizeof killed, "%s/killed-%d", root, runs);
        kills += run_under_fire(method, killed, seconds, &draw);
        context = make_context(1, ~0u, 1);
        same_file(context, whole, killed, "metrics.jsonl");
        same_file(context, whole, killed, "model/model.safetensors");
        snprintf(name, sizeof name, "checkpoints/step-%d/state.safetensors", STEPS);
        same_file(context, whole, killed, name);
        same_result(context, whole, killed);
        remove_directory(context, killed);
        rlhf_context_release(&context);
    }
    print_message("%s: %d runs of %.2f s, killed %d times\n", method, runs, seconds, kills);
    context = make_context(1, ~0u, 1);
    remove_directory(context, root);
    rlhf_context_release(&context);
}

int main(int count, char **arguments)
{
    struct CMUnitTest tests[ALL_METHODS + 1];

    if (count == 3)
        return train(arguments[1], arguments[2]);
    memset(tests, 0, sizeof tests);
    for (int m = 0; m <= ALL_METHODS; m++) {
        const char *method = m < ALL_METHODS ? all_methods[m] : one_trunk;
        tests[m] = (struct CMUnitTest){
            .name = method, .test_func = killed_run, .initial_state = (void *)(uintptr_t)method};
    }
    return _cmocka_run_group_tests("kill", tests, ALL_METHODS + 1, NULL, NULL);
}
