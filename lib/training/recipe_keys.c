/* The one table of settings. It feeds the setters, YAML, the command line, --help and the manual; names and, where the
 * field agrees on one, defaults are TRL's. A key is listed for a method only if it does something there. */
#include "training/training.h"

#define P (1u << RLHFI_PRETRAIN)
#define S (1u << RLHFI_SFT)
#define R (1u << RLHFI_REWARD)
#define F (1u << RLHFI_RAFT)
#define N (1u << RLHFI_REINFORCE)
#define W (1u << RLHFI_PAIRWISE)
#define O (1u << RLHFI_PPO)
#define EPOCHS (P | S | R)       /* go through the rows of a dataset */
#define POLICY (N | W | O)       /* policy gradients on their own samples */
#define SAMPLES (F | N | W | O)  /* draw completions */
#define ALL (EPOCHS | SAMPLES)

#define TEXT(name, methods, flags, help) {name, methods, RLHF_KEY_TEXT, "", 0, 0, NULL, flags, help}
#define NUMBER(name, methods, initial, low, high, flags, help)                                                         \
    {name, methods, RLHF_KEY_NUMBER, initial, low, high, NULL, flags, help}
#define INTEGER(name, methods, initial, low, high, flags, help)                                                        \
    {name, methods, RLHF_KEY_INTEGER, initial, low, high, NULL, flags, help}
#define BOOLEAN(name, methods, initial, flags, help) {name, methods, RLHF_KEY_BOOLEAN, initial, 0, 1, NULL, flags, help}
#define CHOICE(name, methods, initial, words, flags, help)                                                             \
    {name, methods, RLHF_KEY_CHOICE, initial, 0, 0, words, flags, help}

enum { OPTIONAL = RLHFI_KEY_OPTIONAL, FREE = RLHFI_KEY_FREE };
#define MOST_STEPS 1e12
#define EXACT_INTEGER 9007199254740992.0 /* 2^53: bounds are doubles */

const char *const rlhfi_method_names[RLHFI_METHODS] = {"pretrain", "sft", "reward", "raft", "reinforce", "pairwise",
                                                       "ppo"};

const rlhfi_key rlhfi_keys[] = {
    /* what goes in and where it comes out */
    TEXT("model_name_or_path", ALL, FREE, "directory of the model to start from (config.json, model.safetensors)"),
    TEXT("init_from_config", P, FREE, "config.json of a model to make with random weights, instead of a model to load"),
    TEXT("tokenizer_name_or_path", ALL, FREE, "directory or file of the tokenizer, if it is not beside the model"),
    TEXT("reward_model_path", SAMPLES, FREE, "directory of the reward model that scores completions"),
    TEXT("value_model_path", O, FREE, "directory of the value model; without one: the reward model, else the policy"),
    BOOLEAN("share_value_trunk", O, "false", 0,
            "whether the value model is a head of zeros on the policy's own trunk, trained in the same pass"),
    TEXT("dataset_name", ALL, FREE, "training data: .jsonl, .jsonl.gz, .txt or .txt.gz"),
    TEXT("eval_dataset_name", ALL, FREE, "held-out data in the same form"),
    CHOICE("dataset_bad_rows", ALL, "stop", "stop skip", 0, "what to do with a row that cannot be read"),
    CHOICE("chat_template", ALL, "none", "none chatml plain", 0, "how rows made of messages become text"),
    TEXT("output_dir", ALL, FREE, "run directory; without one nothing is written"),
    BOOLEAN("bf16", ALL, "false", 0, "products in bfloat16, summed in float32; the weights stay float32"),
    CHOICE("dtype", ALL, "float32", "float32 bfloat16 float16", 0,
           "weights in memory; bfloat16 takes half of it, rounds stochastically and has products in bfloat16"),
    INTEGER("seed", ALL, "42", 0, EXACT_INTEGER, 0, "source of all randomness: order of rows, sampling, new weights"),

    /* what counts */
    INTEGER("max_length", P, "1024", 0, 1e9, 0, "tokens of a row; longer documents are split; 0 = the model's limit"),
    INTEGER("max_length", S, "1024", 0, 1e9, 0,
            "tokens of a row; longer rows are cut at the end; 0 = the model's limit"),
    INTEGER("max_length", R, "1024", 0, 1e9, 0,
            "tokens of an answer with its prompt; longer pairs are dropped; 0 = the model's limit"),
    CHOICE("completion_only_loss", S, "auto", "auto true false", 0,
           "whether prompt tokens are left out of the loss; auto: yes where rows have a prompt"),
    NUMBER("label_smoothing_factor", P | S | F, "0", 0, 1, 0, "share of the loss that is spread over the vocabulary"),
    NUMBER("center_rewards_coefficient", R, "0", 0, 1e6, 0,
           "weight of (chosen + rejected)^2, which holds scores near 0"),

    /* how long */
    NUMBER("num_train_epochs", P | R, "1", 0, 1e6, FREE, "times through the data; a fraction stops inside an epoch"),
    NUMBER("num_train_epochs", S, "3", 0, 1e6, FREE, "times through the data; a fraction stops inside an epoch"),
    NUMBER("num_train_epochs", POLICY, "1", 0, 1e6, FREE,
           "times through the prompts, if neither total_episodes nor max_steps"),
    INTEGER("num_iterations", F, "4", 1, MOST_STEPS, FREE, "rounds of sampling, selecting and training"),
    INTEGER("total_episodes", POLICY, "0", 0, MOST_STEPS, FREE,
            "completions of the whole run; 0 = by num_train_epochs"),
    INTEGER("max_steps", EPOCHS, "-1", -1, MOST_STEPS, FREE, "optimizer steps; 0 or -1 = by num_train_epochs"),
    INTEGER("max_steps", F, "-1", -1, MOST_STEPS, FREE, "iterations; 0 or -1 = by num_iterations"),
    INTEGER("max_steps", POLICY, "-1", -1, MOST_STEPS, FREE, "iterations; 0 or -1 = by total_episodes"),

    /* batches */
    INTEGER("per_device_train_batch_size", P | S | F, "8", 1, 1e6, 0, "rows that go through the model side by side"),
    INTEGER("per_device_train_batch_size", R, "8", 1, 1e6, 0, "pairs that go through the model side by side"),
    INTEGER("per_device_train_batch_size", POLICY, "8", 1, 1e6, 0, "completions trained on side by side"),
    INTEGER("gradient_accumulation_steps", ALL, "1", 1, 1e6, 0, "batches per optimizer step"),
    BOOLEAN("gradient_checkpointing", ALL, "false", 0,
            "computes activations again in the backward pass: less memory, more time, the same result"),
    BOOLEAN("shuffle_dataset", ALL, "true", 0, "whether each epoch has an order of its own"),

    /* sampling */
    INTEGER("prompts_per_iteration", F, "64", 1, 1e9, 0, "prompts per round"),
    INTEGER("num_generations", F, "8", 1, 1e6, 0, "completions per prompt, of which the best is kept"),
    INTEGER("num_generations", N, "4", 1, 1e6, 0, "completions per prompt"),
    INTEGER("num_generations", W, "2", 2, 1e6, 0, "completions per prompt, an even number: they are compared in pairs"),
    INTEGER("response_length", F | N | W, "64", 1, 1e6, 0, "most tokens of a completion"),
    INTEGER("response_length", O, "53", 1, 1e6, 0, "most tokens of a completion"),
    INTEGER("min_new_tokens", SAMPLES, "0", 0, 1e6, 0, "tokens before which a completion cannot end"),
    NUMBER("temperature", F | N | W, "1", 0.001, 1000, 0,
           "logits are divided by it, in sampling and in training alike"),
    NUMBER("temperature", O, "0.7", 0.001, 1000, 0, "logits are divided by it, in sampling and in training alike"),
    INTEGER("top_k", SAMPLES, "0", 0, 1e9, 0, "only the k likeliest tokens; 0 = off. Training does not know of it"),
    NUMBER("top_p", SAMPLES, "1", 1e-9, 1, 0,
           "only the likeliest tokens that make up p; 1 = off. Training does not know of it"),
    NUMBER("min_p", SAMPLES, "0", 0, 1, 0,
           "only tokens of at least p times the best one; 0 = off. Training does not know of it"),

    /* what the program or a plugin has registered by name */
    TEXT("objective", ALL, 0, "the loss by its registered name (name or name:argument), instead of the built-in one"),
    TEXT("scorer", SAMPLES, 0, "what scores completions by its registered name, instead of a reward model"),

    /* rewards */
    NUMBER("missing_eos_penalty", SAMPLES, "", 0, 1e6, OPTIONAL,
           "taken from the score of completions cut at response_length"),
    NUMBER("reward_clip", POLICY, "0", 0, 1e6, 0, "scores are cut to [-x, x]; 0 = off"),
    NUMBER("kl_coef", N | O, "0.05", 0, 1000, 0, "weight of the KL to the reference in the reward; 0 = no reference"),
    CHOICE("kl_estimator", N | O, "k1", "k1 k2 k3", 0,
           "estimate of the KL per token; k1 is the one with the right gradient"),
    BOOLEAN("adaptive_kl", N | O, "false", 0, "moves kl_coef so that the KL of a completion stays near target_kl"),
    NUMBER("target_kl", N | O, "6", 1e-9, 1e6, 0, "nats per completion, for adaptive_kl"),
    NUMBER("horizon", N | O, "10000", 1, 1e12, 0, "completions over which adaptive_kl reacts"),
    BOOLEAN("whiten_rewards", N | O, "false", 0, "scales rewards to deviation 1 (their mean stays)"),

    /* methods' own */
    NUMBER("beta", F, "0", 0, 1e6, 0, "completions are ranked by score - beta * KL to the reference; 0 = no reference"),
    NUMBER("beta", W, "0.1", 0, 1000, 0, "strength of the KL leash to the reference"),
    CHOICE("selection", F, "best", "best top_fraction random", 0,
           "which completions are kept: the best of each prompt, the best of all, or one of each prompt by lot"),
    NUMBER("selection_fraction", F, "0.25", 1e-6, 1, 0, "share of all completions that selection top_fraction keeps"),
    INTEGER("num_epochs_per_iteration", F, "1", 1, 1e6, 0, "times through the kept completions in each round"),
    CHOICE("loss_type", W, "linear", "linear regularised logistic clipped fixed_target", 0,
           "how a pair is contrasted (2310.00212, 2406.19185, soft labels, with PPO's clip, 2310.12036)"),
    NUMBER("soft_label_temperature", W, "1", 1e-9, 1e6, 0,
           "loss_type logistic: label = sigmoid(difference of scores / it)"),
    CHOICE("baseline", N, "leave_one_out", "none moving_average batch_mean leave_one_out running_mean", 0,
           "what a completion's reward is compared with"),
    NUMBER("baseline_momentum", N, "0.9", 0, 1, 0, "weight of the past in baseline moving_average"),
    BOOLEAN("reward_to_go", N, "true", 0, "whether a token answers only for the rewards behind it"),
    INTEGER("num_ppo_epochs", O, "4", 1, 1e6, 0, "times through the completions of an iteration"),
    INTEGER("num_ppo_epochs", W, "1", 1, 1e6, 0, "times through the completions of an iteration"),
    INTEGER("num_mini_batches", W | O, "1", 1, 1e6, 0, "optimizer steps into which an iteration's completions are cut"),
    NUMBER("cliprange", W | O, "0.2", 1e-9, 1, 0, "how far the ratio of new to old probability may go from 1"),
    NUMBER("cliprange_value", O, "0.2", 0, 1e6, 0, "how far a value may go from the old one; 0 = any"),
    NUMBER("dual_clip", O, "0", 0, 1e6, 0, "bound on the loss of tokens with negative advantage, in ratios; 0 = off"),
    NUMBER("vf_coef", O, "0.1", 0, 1e6, 0, "weight of the value loss"),
    NUMBER("entropy_coef", N | O, "0", 0, 1e6, 0, "weight of the entropy bonus"),
    NUMBER("gamma", O, "1", 0, 1, 0, "discount per token"),
    NUMBER("lam", O, "0.95", 0, 1, 0, "lambda of generalised advantage estimation"),
    BOOLEAN("whiten_advantages", O, "true", 0, "scales advantages to mean 0 and deviation 1 over the iteration"),
    BOOLEAN("whiten_advantages", N, "false", 0, "scales advantages to mean 0 and deviation 1 over the iteration"),

    /* optimizer */
    NUMBER("learning_rate", P, "0.0005", 0, 1000, 0, "learning rate at its peak"),
    NUMBER("learning_rate", S | F, "2e-05", 0, 1000, 0, "learning rate at its peak"),
    NUMBER("learning_rate", R, "0.0001", 0, 1000, 0, "learning rate at its peak"),
    NUMBER("learning_rate", N | W, "1e-06", 0, 1000, 0, "learning rate at its peak"),
    NUMBER("learning_rate", O, "3e-06", 0, 1000, 0, "learning rate at its peak, policy and value model alike"),
    CHOICE("lr_scheduler_type", ALL, "linear", "constant linear cosine", 0,
           "course of the learning rate behind the warmup"),
    NUMBER("min_lr_rate", ALL, "0", 0, 1, 0, "share of learning_rate at which linear and cosine end"),
    INTEGER("warmup_steps", ALL, "0", 0, MOST_STEPS, 0, "optimizer steps in which the learning rate rises from 0"),
    NUMBER("warmup_ratio", ALL, "0", 0, 1, 0, "the same as a share of all steps, if warmup_steps is 0"),
    NUMBER("weight_decay", ALL, "0", 0, 1000, 0, "AdamW's decay of matrices (not of biases and norm gains)"),
    NUMBER("adam_beta1", ALL, "0.9", 0, 0.999999, 0, "AdamW: memory of the gradient's mean"),
    NUMBER("adam_beta2", ALL, "0.999", 0, 0.9999999, 0, "AdamW: memory of the gradient's square"),
    NUMBER("adam_epsilon", ALL, "1e-08", 1e-30, 1, 0, "AdamW: added outside the root, as PyTorch does"),
    NUMBER("max_grad_norm", ALL, "1", 0, 1e12, 0, "gradients longer than this are shortened to it; 0 = never"),

    /* reports */
    INTEGER("logging_steps", EPOCHS, "10", 1, MOST_STEPS, FREE, "steps between lines of metrics.jsonl"),
    INTEGER("logging_steps", SAMPLES, "1", 1, MOST_STEPS, FREE, "iterations between lines of metrics.jsonl"),
    INTEGER("eval_steps", ALL, "0", 0, MOST_STEPS, FREE, "steps between evaluations; 0 = only at the end"),
    INTEGER("save_steps", EPOCHS, "500", 0, MOST_STEPS, FREE,
            "steps between checkpoints; 0 = none, but when cancelled"),
    INTEGER("save_steps", SAMPLES, "50", 0, MOST_STEPS, FREE,
            "iterations between checkpoints; 0 = none, but when cancelled"),
    INTEGER("save_total_limit", ALL, "0", 0, 1e9, FREE, "newest checkpoints that are kept; 0 = all"),
};
const size_t rlhfi_key_rows = sizeof rlhfi_keys / sizeof rlhfi_keys[0];
