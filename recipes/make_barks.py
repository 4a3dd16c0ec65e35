"""Write bark.jsonl: what somebody says to a dog, and what the dog answers. The same file every time."""

import json
import random
from pathlib import Path

NUM_ROWS = 72
BARKS = ("woof", "arf", "ruff", "grrr")


def make_rows() -> str:
    """JSON lines of a prompt and two to ten barks, each as likely as any other."""
    draw = random.Random(0)
    answers = ["".join(f" {draw.choice(BARKS)}" for _ in range(draw.randint(2, 10))) for _ in range(NUM_ROWS)]
    return "".join(json.dumps({"prompt": "User: speak Assistant:", "completion": answer}) + "\n" for answer in answers)


if __name__ == "__main__":
    Path(__file__).with_name("bark.jsonl").write_text(make_rows(), encoding="utf-8")
