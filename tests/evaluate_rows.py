"""Run by test_distributed.py, alone and under torchrun: evaluates seven videos and writes what it got.

python -m tests.evaluate_rows WORLD_SIZE OUT.json
"""

import json
import sys

from accelerate import PartialState

from hf_vtg.training.arguments import VideoGroundingTrainingArguments

from .testers import model_tester


def main(expected_world_size: int, out: str) -> None:
    tester = model_tester("mmn")
    model = tester.model(seed=3)
    trainer = tester.trainer(model, out + ".trainer")
    trainer.args = VideoGroundingTrainingArguments(
        output_dir=out + ".trainer", use_cpu=True, report_to="none", disable_tqdm=True, per_device_eval_batch_size=2
    )
    trainer = type(trainer)(
        model=model,
        args=trainer.args,
        processing_class=trainer.processing_class,
        data_collator=trainer.data_collator,
    )
    assert trainer.args.world_size == expected_world_size, trainer.args.world_size
    rows = tester.rows(model.config)
    # Seven rows, an odd number with equal ones among them.
    result = trainer.predict([*rows, *rows, rows[2]])
    if PartialState().is_main_process:
        timed = ("runtime", "per_second")
        metrics = {k: v for k, v in result.metrics.items() if not any(word in k for word in timed)}
        with open(out, "w") as file:
            json.dump({"metrics": metrics, "predictions": result.predictions}, file)
    # Its threads may otherwise abort the process while the interpreter ends.
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
