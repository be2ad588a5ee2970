"""The texts of one edit, embedded once, and the choice of T_ROI.

Sources: supplement, section 2.2 (templates, several prompts); method, sections 3, 5 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.prompts import NEUTRAL_TEXT, SCREEN_TEMPLATES, TEMPLATES, fill, word_runs

PLAIN_TEMPLATE = TEMPLATES.index("{}")


@dataclass(frozen=True)
class TextDraw:
    """Which texts a step uses: the numbers of the prompt, its template, and the template over the green screen."""

    prompt: int
    template: int
    screen: int


PLAIN = TextDraw(0, PLAIN_TEMPLATE, 0)  # the first prompt as typed, for the un-augmented pair (I_s, T)


@dataclass(frozen=True)
class StepTexts:
    """The text embeddings of one step, each (D,), not normalised."""

    target: Tensor  # E_txt(T)
    source: Tensor  # E_txt(T_ROI), in the same template as the target
    screen: Tensor  # E_txt("<layer text> over a green screen.")

    @property
    def direction(self) -> Tensor:
        """E_txt(T) - E_txt(T_ROI), for L_dir: (D,)."""
        return self.target - self.source


@dataclass(frozen=True)
class TextSet:
    """The texts of one edit and their embeddings for every template: float32, not normalised, on CLIP's device."""

    prompts: tuple[str, ...]  # P texts T of the same edit
    roi: str | None  # T_ROI; None: the neutral text is used
    layer_texts: tuple[str, ...]  # L texts of the layer alone: one given by the user, or the prompts
    target: Tensor  # (P, 14, D)
    source: Tensor  # (14, D)
    screen: Tensor  # (L, 2, D)

    @classmethod
    def embed(
        cls, clip: Clip, prompts: Sequence[str], roi: str | None = None, layer_text: str | None = None
    ) -> TextSet:
        """Embed all texts of the edit in one call."""
        layer_texts = (layer_text,) if layer_text is not None else tuple(prompts)
        target = [fill(template, prompt) for prompt in prompts for template in TEMPLATES]
        source = [fill(template, roi if roi is not None else NEUTRAL_TEXT) for template in TEMPLATES]
        screen = [fill(template, text) for text in layer_texts for template in SCREEN_TEMPLATES]
        embedded = clip.embed_texts([*target, *source, *screen])
        parts = torch.split(embedded, [len(target), len(source), len(screen)])
        return cls(
            prompts=tuple(prompts),
            roi=roi,
            layer_texts=layer_texts,
            target=parts[0].view(len(prompts), len(TEMPLATES), -1),
            source=parts[1],
            screen=parts[2].view(len(layer_texts), len(SCREEN_TEMPLATES), -1),
        )

    def draw(self, rng: torch.Generator) -> TextDraw:
        """Draw a prompt, a template (shared by T and T_ROI) and a screen template from ``rng``, on the CPU."""
        sizes = (len(self.prompts), len(TEMPLATES), len(SCREEN_TEMPLATES))
        prompt, template, screen = (int(torch.randint(size, (), generator=rng)) for size in sizes)
        return TextDraw(prompt, template, screen)

    def mean(self) -> StepTexts:
        """The mean of the normalised embeddings over prompts and templates, for scoring results."""
        target, source, screen = (F.normalize(part, dim=-1) for part in (self.target, self.source, self.screen))
        return StepTexts(target.mean(dim=(0, 1)), source.mean(dim=0), screen.mean(dim=(0, 1)))

    def picked(self, draw: TextDraw) -> StepTexts:
        """The embeddings of the texts that were drawn."""
        layer_text = draw.prompt if len(self.layer_texts) > 1 else 0
        return StepTexts(
            self.target[draw.prompt, draw.template], self.source[draw.template], self.screen[layer_text, draw.screen]
        )


def in_templates(text: str) -> list[str]:
    """``text`` in each of the templates, for quantities that are averaged over them (such as the relevancy map)."""
    return [fill(template, text) for template in TEMPLATES]


def choose_roi(clip: Clip, picture: Tensor, prompts: Sequence[str]) -> str | None:
    """Choose T_ROI by CLIP: the run of the prompts' words nearest to ``picture`` (1, 3, H, W), or None (neutral text).

    The candidates are proper parts of the prompts (a whole prompt as T_ROI would leave no direction to edit in). Each
    is scored by its similarity to the whole picture, averaged over the templates. The best must beat the neutral text
    by ``clip.roi_margin`` logits of the model: 1 means e times the odds under the model's
    softmax, or 0.01 in cosine for OpenAI's weights. A model with a sigmoid instead, as SigLIP, has a logit scale of
    the same order (about 110) and a bias, which cancels here: 1 then means e times the odds that the text is true. A
    bound in cosine would not transfer between models, because their similarities have different ranges.
    """
    whole = {prompt.strip().casefold() for prompt in prompts}
    runs = dict.fromkeys(run for prompt in prompts for run in word_runs(prompt))
    candidates = [run for run in runs if run.casefold() not in whole]
    if not candidates:
        return None
    texts = [filled for text in (*candidates, NEUTRAL_TEXT) for filled in in_templates(text)]
    with torch.no_grad():
        image = F.normalize(clip.embed_images(clip.fit(picture)), dim=-1)[0]
        similarity = F.normalize(clip.embed_texts(texts), dim=-1) @ image
    logits = clip.logit_scale * similarity.view(-1, len(TEMPLATES)).mean(dim=1)
    best = int(logits[:-1].argmax())
    return candidates[best] if float(logits[best] - logits[-1]) > clip.roi_margin else None
