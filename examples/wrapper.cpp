// The library from C++17: thirty lines turn every handle into a value that releases itself and every failure into an
// exception; the rest uses them to run the custom reward of custom_reward.c with a lambda.
//
//     wrapper [MODEL PROMPTS.jsonl]
#include "tiny_world.h"

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace rlhf {

template <auto release> struct Release {
    template <class T> void operator()(T *handle) const { release(&handle); }
};
template <class T, auto release> using Handle = std::unique_ptr<T, Release<release>>;

using Context = Handle<rlhf_context, rlhf_context_release>;
using Tokenizer = Handle<rlhf_tokenizer, rlhf_tokenizer_release>;
using Policy = Handle<rlhf_policy, rlhf_policy_release>;
using Dataset = Handle<rlhf_dataset, rlhf_dataset_release>;
using Scorer = Handle<rlhf_scorer, rlhf_scorer_release>;
using Recipe = Handle<rlhf_recipe, rlhf_recipe_release>;
using Trainer = Handle<rlhf_trainer, rlhf_trainer_release>;

inline void check(const rlhf_context *context, rlhf_status status)
{
    std::string text(rlhf_context_error(context, nullptr, 0), '\0');
    rlhf_context_error(context, text.data(), text.size());
    if (status != RLHF_OK)
        throw std::runtime_error(rlhf_status_name(status) + std::string(": ") + text.c_str());
}

// make<Policy>(context, rlhf_policy_load, arguments behind out...)
template <class H, class Function, class... Arguments>
H make(const rlhf_context *context, Function function, Arguments... arguments)
{
    typename H::pointer handle = nullptr;
    check(context, function(&handle, arguments...));
    return H(handle);
}

using Reward = std::function<double(const char *prompt, const char *completion)>;

// An exception may not fly through C: it becomes a code of ours, which comes out of the call unchanged.
inline rlhf_status call_reward(void *user_data, const rlhf_score_input *in, double *score) noexcept
try {
    for (int64_t row = 0; row < in->rows; row++)
        score[row] = (*static_cast<Reward *>(user_data))(in->prompt[row], in->completion[row]);
    return RLHF_OK;
} catch (...) {
    return RLHF_E_USER_FIRST;
}

} // namespace rlhf

static void run(int argc, char **argv)
{
    auto context = rlhf::make<rlhf::Context>(nullptr, rlhf_context_create, nullptr);
    rlhf_context *c = context.get();
    tiny_world world;
    if (argc < 3)
        rlhf::check(c, tiny_world_make(&world, c));
    const char *model = argc < 3 ? world.model : argv[1], *data = argc < 3 ? world.prompts : argv[2];
    auto tokenizer = rlhf::make<rlhf::Tokenizer>(c, rlhf_tokenizer_load, c, model);
    auto policy = rlhf::make<rlhf::Policy>(c, rlhf_policy_load, c, model, nullptr);
    auto prompts = rlhf::make<rlhf::Dataset>(c, rlhf_dataset_load, c, data, nullptr);

    rlhf::Reward likes_sweet = [](const char *, const char *completion) {
        return std::string(completion).find("sweet") != std::string::npos ? 1.0 : 0.0;
    };
    auto scorer = rlhf::make<rlhf::Scorer>(c, rlhf_scorer_create, c, "likes sweet", rlhf::call_reward, &likes_sweet,
                                           nullptr);
    auto recipe = rlhf::make<rlhf::Recipe>(c, rlhf_recipe_create, c, "reinforce");
    const char *keys[][2] = {{"max_steps", "12"}, {"per_device_train_batch_size", "32"}, {"response_length", "10"},
                             {"learning_rate", "0.003"}};
    for (auto &key : keys)
        rlhf::check(c, rlhf_recipe_set(recipe.get(), key[0], key[1]));
    rlhf_trainer_options options;
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy.get();
    options.tokenizer = tokenizer.get();
    options.dataset = prompts.get();
    options.scorer = scorer.get();
    options.output_dir = "";
    rlhf::check(c, print_samples("before:", policy.get(), tokenizer.get(), prompts.get(), 4));
    auto trainer = rlhf::make<rlhf::Trainer>(c, rlhf_trainer_create, c, recipe.get(), &options);
    rlhf::check(c, rlhf_trainer_run(trainer.get()));
    rlhf::check(c, print_samples("after:", policy.get(), tokenizer.get(), prompts.get(), 4));

    try {
        rlhf::make<rlhf::Policy>(c, rlhf_policy_load, c, "no/such/model", nullptr);
    } catch (const std::exception &error) {
        printf("as it should be: %s\n", error.what());
    }
}

int main(int argc, char **argv)
try {
    run(argc, argv);
    return 0;
} catch (const std::exception &error) {
    fprintf(stderr, "%s\n", error.what());
    return 1;
}
