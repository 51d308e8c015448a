"""DSPy."""

from typing import Any

import dspy
from cases import model, run, timeout

dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


class Answer(dspy.Signature):
    """Answer with a point."""

    question: str = dspy.InputField()
    x: int = dspy.OutputField()
    y: int = dspy.OutputField()


class Client:
    """Its language model."""

    def __init__(self, url: str) -> None:
        self.url = url

    def lm(self, case: dict[str, Any]) -> Any:
        """The language model."""
        how = {"api_key": "key", "num_retries": 0, "timeout": timeout(case), "cache": False}
        return dspy.LM(f"openai/{model(case)}", api_base=self.url, **how)

    async def create(self, case: dict[str, Any]) -> Any:
        """What the model answers, and what DSPy keeps of the answer."""
        lm = self.lm(case)
        found = await lm.acall(**case["request"])
        return found, lm.history[-1]["usage"], lm.history[-1]["response"]

    async def structured(self, case: dict[str, Any]) -> Any:
        """What a predictor answers."""
        predict = dspy.Predict(Answer)
        with dspy.context(lm=self.lm(case), adapter=dspy.JSONAdapter()):
            found = await predict.acall(question="where?")
            return found.x, found.y


run(Client)
