"""The reference U-Net as one would write it in PyTorch; its modules have the names in the file that grano reads."""

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

EMBEDDING = 64
GROUPS = 8


def conv3x3(in_c, out_c, stride=1):
    return nn.Conv2d(in_c, out_c, 3, stride, padding=1)


class ResBlock(nn.Module):
    def __init__(self, in_c, out_c):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, in_c), conv3x3(in_c, out_c)
        self.time = nn.Linear(EMBEDDING, out_c)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, out_c), conv3x3(out_c, out_c)
        self.shortcut = nn.Conv2d(in_c, out_c, 1) if in_c != out_c else nn.Identity()

    def forward(self, x, time):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.shortcut(x)


class UpBlock(ResBlock):
    """Takes the enlarged map and a skip of as many channels."""

    def __init__(self, in_c, out_c):
        super().__init__(2 * out_c, out_c)
        self.enlarge = conv3x3(in_c, out_c)

    def forward(self, x, skip, time):
        h = self.enlarge(F.interpolate(x, scale_factor=2.0))
        return super().forward(torch.cat([h, skip], 1), time)


class Attention(nn.Module):
    """One head over all positions."""

    def __init__(self, c):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, c)
        self.q, self.k, self.v, self.projection = (nn.Conv2d(c, c, 1) for _ in range(4))
        self.scale = c**-0.5

    def forward(self, x):
        n = self.norm(x)
        q, k, v = (f(n).flatten(2) for f in (self.q, self.k, self.v))
        weights = (self.scale * q.transpose(1, 2) @ k).softmax(-1)
        return x + self.projection((v @ weights.transpose(1, 2)).reshape(x.shape))


class Head(nn.Conv2d):
    def __init__(self, in_c):
        super().__init__(in_c, 1, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, in_c)

    def forward(self, x):
        return super().forward(F.silu(self.norm(x)))


class UNet(nn.Module):
    """ε from x `[1, 1, 28, 28]` and the sinusoid of t `[1, 16]`."""

    def __init__(self):
        super().__init__()
        self.time = nn.ModuleDict({"linear0": nn.Linear(16, EMBEDDING), "linear1": nn.Linear(EMBEDDING, EMBEDDING)})
        self.stem, self.down0 = conv3x3(1, 16), ResBlock(16, 16)
        self.halve, self.down1 = conv3x3(16, 32, stride=2), ResBlock(32, 32)
        self.quarter, self.down2 = conv3x3(32, 64, stride=2), ResBlock(64, 64)
        self.mid0, self.attention, self.mid1 = ResBlock(64, 64), Attention(64), ResBlock(64, 64)
        self.up1, self.up0 = UpBlock(64, 32), UpBlock(32, 16)
        self.head = Head(16)

    def forward(self, x, sinusoid):
        time = F.silu(self.time["linear1"](F.silu(self.time["linear0"](sinusoid))))
        fine = self.down0(self.stem(x), time)
        middle = self.down1(self.halve(fine), time)
        h = self.down2(self.quarter(middle), time)
        h = self.mid1(self.attention(self.mid0(h, time)), time)
        return self.head(self.up0(self.up1(h, middle, time), fine, time))


def load(folder):
    """The network with the weights in model.safetensors."""
    file = load_file(folder / "model.safetensors")
    # `half` is a method of every module.
    file = {name.removeprefix("denoiser.").replace("half.", "halve."): tensor for name, tensor in file.items()}
    # The file has a normalisation with half of the groups for either map, and no concatenation.
    for name in [name for name in file if ".norm1.0." in name]:
        halves = [file.pop(name.replace(".norm1.0.", f".norm1.{i}.")) for i in range(2)]
        file[name.replace(".norm1.0.", ".norm1.")] = torch.cat(halves)
    unet = UNet().eval()
    unet.load_state_dict(file)
    return unet
