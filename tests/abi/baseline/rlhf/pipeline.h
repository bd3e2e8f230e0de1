/* Pipeline: several recipes in one YAML file, each starting from an earlier one's result.
 *
 *     stages:
 *       - name: sft
 *         method: sft
 *         model_name_or_path: base-model
 *         dataset_name: stories.jsonl
 *       - name: ppo
 *         method: ppo
 *         model_name_or_path: stage:sft        the model that stage sft wrote
 *         scorer: lexicon:words.txt            left to the program (so is gold)
 */
#ifndef RLHF_PIPELINE_H
#define RLHF_PIPELINE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_pipeline rlhf_pipeline;

typedef struct rlhf_pipeline_stage {
    uint32_t struct_size;
    int32_t reserved;
    const char *name;
    rlhf_recipe *recipe;      /* output_dir and stage: references are filled in */
    const char *scorer;       /* text of the keys scorer and gold, NULL where not given */
    const char *gold;
} rlhf_pipeline_stage;

/** Reads and checks a pipeline; every stage's run directory is directory/NAME, and "stage:NAME" in a path becomes
 *  directory/NAME/model of an earlier stage, of this file or of another one that was run into the directory before.
 *  owner    *out is yours    null  INVAL
 *  errors   IO, UNSUPPORTED (built without libyaml), FORMAT, INVAL, RANGE with "file:line:" in front, NOMEM; *out is
 *           NULL then    threads the context's    since 0.1 */
RLHF_API rlhf_status rlhf_pipeline_load(rlhf_pipeline **out, rlhf_context *context, const char *path,
                                        const char *directory);

/** Gives up a pipeline.
 *  owner *pipeline becomes NULL    null fine    errors none    threads the context's    since 0.1 */
RLHF_API void rlhf_pipeline_release(rlhf_pipeline **pipeline);

/** Returns the number of stages.  owner -    null 0    errors none    threads safe    since 0.1 */
RLHF_API int64_t rlhf_pipeline_stages(const rlhf_pipeline *pipeline);

/** Fills *stage (set stage->struct_size).
 *  owner borrowed until the pipeline goes    null INVAL    errors RANGE, INVAL    threads safe    since 0.1 */
RLHF_API rlhf_status rlhf_pipeline_get(const rlhf_pipeline *pipeline, int64_t index, rlhf_pipeline_stage *stage);

#ifdef __cplusplus
}
#endif
#endif
