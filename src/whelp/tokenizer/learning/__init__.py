"""Text to a vocabulary: `learn.py` takes the learner that a `LearnConfig` asks for, a file each; `build.py` writes down what was learned."""
