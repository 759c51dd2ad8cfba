"""Networks ready to build: `resnet50(...)` or `create("resnet50", ...)`; `list()` names them all.

Builders take `num_classes`, `in_channels`, `dtype` and what their docstrings name. Where torchvision
has the network, state-dict keys, shapes and initialisation are torchvision's.
"""

from .alexnet import AlexNet, alexnet
from .auxiliary import auxiliary_cross_entropy
from .classification import classify
from .densenet import (
    DenseNet,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_cifar,
)
from .googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from .inception import InceptionV3, InceptionV3Outputs, inception_v3
from .lenet import lenet5
from .mnist import mnist_cnn, mnist_cnn_improved
from .mobilenet import MobileNetV2, mobilenet_v2
from .registry import Network, create, info, list_networks, register
from .resnet import (
    ResNet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .weights import load_weights

# fastconv.models.list() reads best from outside; in here it would hide the builtin.
list = list_networks

__all__ = [
    "VGG",
    "AlexNet",
    "DenseNet",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "InceptionV3",
    "InceptionV3Outputs",
    "MobileNetV2",
    "Network",
    "ResNet",
    "SqueezeNet",
    "alexnet",
    "auxiliary_cross_entropy",
    "classify",
    "create",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_cifar",
    "googlenet",
    "inception_v3",
    "info",
    "lenet5",
    "list",
    "load_weights",
    "mnist_cnn",
    "mnist_cnn_improved",
    "mobilenet_v2",
    "register",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
