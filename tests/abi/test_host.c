/* Inside a host: what belongs to the process is as it was after a training run, contexts do not meet, a forked child
 * gets an answer, and two copies of the library live side by side. */
#include "../../examples/tiny_world.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

extern char **environ;
static const char *library;

/* ---- a training run ---------------------------------------------------------------------------------------------- */

typedef struct run {
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
    rlhf_policy *policy;
    rlhf_reward_model *judge;
    rlhf_dataset *prompts;
    rlhf_recipe *recipe;
    rlhf_trainer *trainer;
    char hash[65];
    rlhf_status status;
} run;

static tiny_world world; /* files, made once */

static rlhf_status open_run(run *self, int32_t threads)
{
    rlhf_context_options machine;
    rlhf_trainer_options options;
    rlhf_status status;

    *self = (run){0};
    rlhf_context_options_init(&machine, sizeof machine);
    machine.threads = threads;
    TRY(rlhf_context_create(&self->context, &machine));
    TRY(rlhf_tokenizer_load(&self->tokenizer, self->context, world.model));
    TRY(rlhf_policy_load(&self->policy, self->context, world.model, NULL));
    TRY(rlhf_reward_model_load(&self->judge, self->context, world.reward, NULL));
    TRY(rlhf_dataset_load(&self->prompts, self->context, world.prompts, NULL));
    TRY(rlhf_recipe_create(&self->recipe, self->context, "ppo"));
    TRY(rlhf_recipe_set(self->recipe, "max_steps", "3"));
    TRY(rlhf_recipe_set(self->recipe, "response_length", "8"));
    TRY(rlhf_recipe_set(self->recipe, "learning_rate", "0.003"));
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = self->policy;
    options.tokenizer = self->tokenizer;
    options.reward_model = self->judge;
    options.dataset = self->prompts;
    options.output_dir = "";
    status = rlhf_trainer_create(&self->trainer, self->context, self->recipe, &options);
done:
    return status;
}

static void close_run(run *self)
{
    rlhf_trainer_release(&self->trainer);
    rlhf_recipe_release(&self->recipe);
    rlhf_dataset_release(&self->prompts);
    rlhf_reward_model_release(&self->judge);
    rlhf_policy_release(&self->policy);
    rlhf_tokenizer_release(&self->tokenizer);
    rlhf_context_release(&self->context);
}

static void *train(void *argument)
{
    run *self = argument;
    rlhf_status status;

    TRY(open_run(self, 2));
    TRY(rlhf_trainer_run(self->trainer));
    status = rlhf_policy_hash(self->policy, self->hash);
done:
    self->status = status;
    close_run(self);
    return NULL;
}

static int make_world(void **state)
{
    rlhf_context *context;
    rlhf_status status;

    (void)state;
    if (rlhf_context_create(&context, NULL) != RLHF_OK)
        return 1;
    status = tiny_world_make(&world, context);
    rlhf_context_release(&context);
    return status != RLHF_OK;
}

/* ---- what belongs to the process --------------------------------------------------------------------------------- */

typedef struct process {
    void *handler[65];
    int flags[65];
    sigset_t mask;
    char locale[512], directory[512];
    uint64_t environment;
    mode_t umask;
    int files, rounding;
    uint32_t mxcsr;
} process;

static uint64_t add_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash * 31;
}

static int open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

static process look(void)
{
    process seen;

    memset(&seen, 0, sizeof seen);
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0)
            continue;
        memcpy(&seen.handler[number], &action.sa_handler, sizeof seen.handler[number]);
        seen.flags[number] = action.sa_flags;
    }
    sigprocmask(SIG_SETMASK, NULL, &seen.mask);
    snprintf(seen.locale, sizeof seen.locale, "%s", setlocale(LC_ALL, NULL));
    assert_non_null(getcwd(seen.directory, sizeof seen.directory));
    for (char **variable = environ; *variable != NULL; variable++)
        seen.environment = add_text(seen.environment, *variable);
    seen.umask = umask(0);
    umask(seen.umask);
    seen.files = open_files();
    seen.rounding = fegetround();
#if defined(__x86_64__)
    seen.mxcsr = __builtin_ia32_stmxcsr() & 0xffc0; /* masks, rounding, flush to zero, denormals are zero: not flags */
#endif
    return seen;
}

static void nothing_changes(void)
{
    process before = look(), after;
    run self;

    train(&self);
    assert_int_equal(self.status, RLHF_OK);
    after = look();
    assert_memory_equal(before.handler, after.handler, sizeof before.handler);
    assert_memory_equal(before.flags, after.flags, sizeof before.flags);
    assert_memory_equal(&before.mask, &after.mask, sizeof before.mask);
    assert_string_equal(before.locale, after.locale);
    assert_string_equal(before.directory, after.directory);
    assert_true(before.environment == after.environment);
    assert_int_equal(before.umask, after.umask);
    assert_int_equal(before.files, after.files);
    assert_int_equal(before.rounding, after.rounding);
    assert_int_equal(before.mxcsr, after.mxcsr);
}

static void on_signal(int number)
{
    (void)number;
}

static void the_host_stays_as_it_is(void **state)
{
    (void)state;
    nothing_changes();
}

/* A host that has set everything its own way. */
static void an_unusual_host_does_too(void **state)
{
    struct sigaction mine = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, kept[3];
    const int numbers[] = {SIGINT, SIGPIPE, SIGUSR1};
    sigset_t blocked, mask;
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C"};

    (void)state;
    for (int i = 0; i < 3; i++)
        sigaction(numbers[i], &mine, &kept[i]);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, &mask);
    for (int i = 0; i < 4 && setlocale(LC_ALL, locales[i]) == NULL; i++) {
    }
#if defined(__x86_64__)
    uint32_t mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040); /* flush to zero, denormals are zero */
#endif
    nothing_changes();
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(mode);
#endif
    setlocale(LC_ALL, "C");
    sigprocmask(SIG_SETMASK, &mask, NULL);
    for (int i = 0; i < 3; i++)
        sigaction(numbers[i], &kept[i], NULL);
}

/* ---- threads, processes, copies ---------------------------------------------------------------------------------- */

static void contexts_in_threads(void **state)
{
    enum { THREADS = 3 };
    pthread_t thread[THREADS];
    run alone, self[THREADS];

    (void)state;
    train(&alone);
    assert_int_equal(alone.status, RLHF_OK);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, train, &self[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(self[i].status, RLHF_OK);
        assert_string_equal(self[i].hash, alone.hash);
    }
}

/* Every call of the child says that the context is its parent's; a context of its own works. */
static int child(run *self)
{
    rlhf_batch *batch = NULL;
    rlhf_objective *objective = NULL;
    char hash[65], text[512] = "";
    run own;

    alarm(60);
    if (rlhf_policy_hash(self->policy, hash) != RLHF_E_FORKED || rlhf_trainer_step(self->trainer) != RLHF_E_FORKED ||
        rlhf_batch_tokenize(&batch, self->tokenizer, self->prompts, 0, 1, 0) != RLHF_E_FORKED ||
        rlhf_objective_builtin(&objective, self->context, "ppo") != RLHF_E_FORKED ||
        rlhf_plugin_load(self->context, "x.so") != RLHF_E_FORKED || batch != NULL || objective != NULL)
        return 1;
    rlhf_context_error(self->context, text, sizeof text);
    if (strstr(text, "fork") == NULL)
        return 2;
    close_run(self);
#if defined(__SANITIZE_THREAD__)
    own.status = RLHF_OK; /* the thread sanitizer ends a child that starts threads */
#else
    train(&own);
#endif
    return own.status == RLHF_OK ? 0 : 3;
}

static void forked_child(void **state)
{
    run self;
    char before[65], after[65];
    int status = -1;
    pid_t process;

    (void)state;
    assert_int_equal(open_run(&self, 2), RLHF_OK);
    assert_int_equal(rlhf_trainer_step(self.trainer), RLHF_OK); /* its threads have worked */
    assert_int_equal(rlhf_policy_hash(self.policy, before), RLHF_OK);
    process = fork();
    assert_true(process >= 0);
    if (process == 0)
        _exit(child(&self));
    assert_int_equal(waitpid(process, &status, 0), process);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(rlhf_policy_hash(self.policy, after), RLHF_OK);
    assert_string_equal(before, after);
    assert_int_equal(rlhf_trainer_run(self.trainer), RLHF_OK);
    close_run(&self);
}

typedef struct copy {
    rlhf_status (*context_create)(rlhf_context **out, const rlhf_context_options *options);
    rlhf_status (*policy_load)(rlhf_policy **out, rlhf_context *context, const char *directory,
                               const rlhf_model_options *options);
    rlhf_status (*policy_hash)(const rlhf_policy *policy, char hex[65]);
    size_t (*context_error)(const rlhf_context *context, char *buffer, size_t capacity);
    void (*policy_release)(rlhf_policy **policy);
    void (*context_release)(rlhf_context **context);
    rlhf_context *context;
    rlhf_policy *policy;
    char hash[65];
} copy;

static void function(void *object, const char *name, void *to)
{
    void *address = dlsym(object, name);

    if (address == NULL)
        fail_msg("%s: %s", name, dlerror());
    memcpy(to, &address, sizeof address);
}

static void two_copies(void **state)
{
    char path[128], text[512];
    copy copies[2];
    void *object[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        FILE *in = fopen(library, "rb"), *out;
        char buffer[1 << 16];
        size_t bytes;
        snprintf(path, sizeof path, "%s/copy%d.so", world.directory, i);
        out = fopen(path, "wb");
        assert_true(in != NULL && out != NULL);
        while ((bytes = fread(buffer, 1, sizeof buffer, in)) > 0)
            assert_int_equal(fwrite(buffer, 1, bytes, out), bytes);
        fclose(in);
        assert_int_equal(fclose(out), 0);
        object[i] = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (object[i] == NULL)
            fail_msg("%s", dlerror());
        function(object[i], "rlhf_context_create", &copies[i].context_create);
        function(object[i], "rlhf_policy_load", &copies[i].policy_load);
        function(object[i], "rlhf_policy_hash", &copies[i].policy_hash);
        function(object[i], "rlhf_context_error", &copies[i].context_error);
        function(object[i], "rlhf_policy_release", &copies[i].policy_release);
        function(object[i], "rlhf_context_release", &copies[i].context_release);
    }
    assert_true(copies[0].policy_hash != copies[1].policy_hash);
    for (int i = 0; i < 2; i++)
        assert_int_equal(copies[i].context_create(&copies[i].context, NULL), RLHF_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(copies[i].policy_load(&copies[i].policy, copies[i].context, world.model, NULL), RLHF_OK);
    /* What fails in one is not known in the other. */
    rlhf_policy *none;
    assert_int_not_equal(copies[0].policy_load(&none, copies[0].context, "/nowhere", NULL), RLHF_OK);
    copies[1].context_error(copies[1].context, text, sizeof text);
    assert_string_equal(text, "");
    for (int i = 0; i < 2; i++)
        assert_int_equal(copies[i].policy_hash(copies[i].policy, copies[i].hash), RLHF_OK);
    assert_string_equal(copies[0].hash, copies[1].hash);
    copies[0].policy_release(&copies[0].policy);
    copies[0].context_release(&copies[0].context);
    dlclose(object[0]); /* no thread and no handler of it is left */
    assert_int_equal(copies[1].policy_hash(copies[1].policy, copies[0].hash), RLHF_OK);
    copies[1].policy_release(&copies[1].policy);
    copies[1].context_release(&copies[1].context);
    dlclose(object[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_stays_as_it_is), cmocka_unit_test(an_unusual_host_does_too),
        cmocka_unit_test(contexts_in_threads),     cmocka_unit_test(forked_child),
        cmocka_unit_test(two_copies),
    };

    if (argc != 2)
        return 2;
    library = argv[1];
    return cmocka_run_group_tests(tests, make_world, NULL);
}
