"""Convolutional architectures of timm and torchvision for `zoo.py`, narrowed so that all builds take minutes."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from autocompress.benchmarks.zoo_own import Shapes
from torch import Tensor, nn

_NARROW = {"channels": (16, 32, 48, 64)}
_SHORT = _NARROW | {"layers": (1, 1, 1, 1)}
_DIMS = {"dims": (16, 32, 48, 64), "depths": (2, 2, 2, 2)}
# By name: what `timm.create_model` gets beside the name, and `pixels`, the size of images if it is not 64.
TIMM: dict[str, dict[str, Any]] = {
    "resnet18": _NARROW,
    "resnet10t": _NARROW | {"pixels": 32},
    "resnext50_32x4d": _SHORT,
    "seresnet18": _NARROW,
    "res2net50_26w_4s": _SHORT,
    "resnest14d": _NARROW,
    "densenet121": {"block_config": (2, 2, 2, 2)},
    "regnetx_002": {},
    "regnety_002": {},
    "mobilenetv2_050": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_050": {},
    "mnasnet_050": {},
    "efficientnet_b0": {},
    "tf_efficientnet_lite0": {},
    "ghostnet_050": {},
    "lcnet_050": {},
    "rexnet_100": {},
    "cs3darknet_s": {},
    "test_nfnet": {},
    "hrnet_w18_small": {},
    "dla46_c": {},
    "convnext_atto": _DIMS,
    "convnextv2_atto": _DIMS,
    "inception_next_atto": _DIMS,
    "mambaout_femto": _DIMS,
    "edgenext_xx_small": {},
    "mobilevit_xxs": {},
    "mobilevitv2_050": {},
    "repvit_m0_9": {"embed_dim": (16, 32, 48, 64), "depth": (1, 1, 2, 1)},
    "test_convnext2": {},
}


Made = tuple[nn.Module, tuple[Tensor, ...]]


def of_timm(name: str, options: Mapping[str, Any]) -> Made:
    """A model of timm for ten classes, and two images."""
    chosen = {"num_classes": 10} | {key: value for key, value in options.items() if key != "pixels"}
    size = options.get("pixels") or options.get("img_size", 64)
    return importlib.import_module("timm").create_model(name, **chosen), (torch.randn(2, 3, size, size),)


class Detector(nn.Module):
    """The maps of a backbone in a head: what a detector of torchvision does before it chooses boxes."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Any:
        """The head's dictionary of scores and boxes."""
        return self.head(list(self.backbone(x).values()))


def _torchvision(name: str) -> Any:
    return importlib.import_module(f"torchvision.models.{name}")


def _named(name: str, **options: Any) -> Any:
    return getattr(importlib.import_module("torchvision.models"), name)(num_classes=10, **options)


def _vgg() -> nn.Module:
    vgg = _torchvision("vgg")
    features = vgg.make_layers([16, "M", 32, "M", 48, 48, "M", 64, 64, "M"], batch_norm=True)
    model: nn.Module = vgg.VGG(features, num_classes=10, init_weights=False)
    layers = (nn.Linear(64 * 49, 64), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(64, 10))
    model.classifier = nn.Sequential(*layers)
    return model


def _poolformer() -> nn.Module:
    metaformer = importlib.import_module("timm.models.metaformer")
    model: nn.Module = metaformer.MetaFormer(
        num_classes=10, **_DIMS, downsample_norm=None, mlp_act=nn.GELU, mlp_bias=True,
        norm_layers=metaformer.GroupNorm1, layer_scale_init_values=1e-5, res_scale_init_values=None,
        use_mlp_head=False,
    )  # fmt: skip
    return model


def _repvgg() -> nn.Module:
    byobnet = importlib.import_module("timm.models.byobnet")
    blocks = [byobnet.ByoBlockCfg(type="rep", d=2, c=width, s=2) for width in (16, 32, 48)]
    model: nn.Module = byobnet.ByobNet(
        byobnet.ByoModelCfg(blocks=tuple(blocks), stem_type="rep", stem_chs=16), num_classes=10
    )
    return model


def _fcos() -> nn.Module:
    features = _named("mobilenet_v2", width_mult=0.35).features
    layers = {"3": "0", "6": "1", "13": "2"}
    backbone = _torchvision("detection.backbone_utils").BackboneWithFPN(features, layers, [8, 16, 32], 64)
    return Detector(backbone, _torchvision("detection.fcos").FCOSHead(64, 1, 5, num_convs=2))


def _ssdlite() -> nn.Module:
    detection = _torchvision("detection")
    model = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5, width_mult=0.25
    )
    return Detector(model.backbone, model.head)


def _video() -> nn.Module:
    """A network for videos without its widest stages."""
    model: nn.Module = _torchvision("video").r2plus1d_18(weights=None, num_classes=10)
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(128, 10)
    return model


_IMAGES = ((3, 64, 64),)
# By name: what makes the model, and the shapes of its inputs.
MADE: dict[str, tuple[Callable[[], nn.Module], Shapes]] = {
    "timm poolformer_s12": (_poolformer, _IMAGES),
    "timm repvgg_a0": (_repvgg, _IMAGES),
    "torchvision shufflenet_v2_x0_5": (lambda: _named("shufflenet_v2_x0_5"), _IMAGES),
    "torchvision squeezenet1_1": (lambda: _named("squeezenet1_1"), _IMAGES),
    "torchvision vgg_bn": (_vgg, _IMAGES),
    "torchvision googlenet": (lambda: _named("googlenet", init_weights=True, aux_logits=False), _IMAGES),
    "torchvision lraspp_mobilenet_v3": (
        lambda: _torchvision("segmentation").lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=5
        ),
        _IMAGES,
    ),
    "torchvision ssdlite": (_ssdlite, _IMAGES),
    "torchvision fcos": (_fcos, _IMAGES),
    "torchvision r2plus1d": (_video, ((3, 4, 32, 32),)),
}
