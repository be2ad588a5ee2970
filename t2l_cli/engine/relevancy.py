"""Where CLIP sees a text in a picture: the relevancy map R(I, T) of the bootstrap.

Chefer et al., "Generic Attention-model Explainability" (ICCV 2021), applied to the last block of the image tower.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.clip import Clip

SIDE = 224  # px: side of the map, at which relevancy and alpha are compared (method, section 5)


def relevancy(clip: Clip, picture: Tensor, text: str | Sequence[str]) -> Tensor:
    """Where ``text`` is in ``picture`` (1, 3, H, W): (1, 1, 224, 224), min-max normalised to [0, 1].

    R = I + A-bar, where A-bar = mean over heads of (gradient * attention)+ and the gradient is that of the similarity
    of picture and text (for several texts, their mean similarity). If the tower pools by its class token, the map is
    the row of that token. Otherwise pooling counts as one more row of attention, on the tokens x: the map is
    P-bar (I + A-bar), where P-bar_i = (gradient_i . x_i)+ is the part of token i in the similarity. A constant map
    gives all zeros. RequestError for a variant of attention that no published open_clip ViT uses.
    """
    # 1. The similarity of picture and text, and its gradients.
    target = F.normalize(clip.embed_texts([text] if isinstance(text, str) else text), dim=-1)
    seen = clip.fit(picture.detach())
    with torch.enable_grad(), clip.tower.explicit_attention() as attentions, clip.tower.pooled() as pooled:
        similarity = (F.normalize(clip.embed_plainly(seen), dim=-1) @ target.T).mean()
        (attention,), (x,) = attentions, pooled  # (1, heads, N, N), (1, groups, M, C)
        gradient, on_x = torch.autograd.grad(similarity, [attention, x])
    # 2. The relevancy of each token.
    a_bar = (gradient * attention.detach()).clamp(min=0).mean(dim=1)[0]  # (N, N)
    R = torch.eye(len(a_bar), device=clip.device) + a_bar
    height, width = (side // clip.patch_size for side in seen.shape[-2:])
    if clip.tower.pools_class_token:
        row = R[0]
    else:
        p_bar = (on_x * x.detach()).float().sum(dim=-1).clamp(min=0).mean(dim=1)[0]  # (M,)
        row = F.pad(p_bar, (len(R) - len(p_bar), 0)) @ R  # a pooling may leave out the class token
    row = row[-height * width :]  # (h*w,): without class token and registers
    # 3. The tokens as a map, enlarged and normalised.
    grid = row.view(1, 1, height, width)
    enlarged = F.interpolate(grid, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    low, high = enlarged.min(), enlarged.max()
    return (enlarged - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
