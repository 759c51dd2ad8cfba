"""What is known about each data set: classes, statistics, where it comes from, its digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ShapeError

__all__ = ["CIFAR100_COARSE", "DATASETS", "SPLITS", "DatasetInfo", "class_names", "dataset_info"]

# Split name -> (images, labels) as the MNIST family names its files.
SPLITS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set.

    `mean` and `std` are per channel over the training images scaled to [0, 1]. `sha256` maps each
    file name to the digest of its uncompressed contents: mirrors compress the same data with
    different gzip headers, so that digests of the .gz files differ from place to place. A set that
    is one file has its name in `archive`, and the digest that its publisher gives in `md5`.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    base_url: str = ""
    system_folders: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    archive: str = ""
    md5: str = ""


_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FASHION_SOURCE = (
    "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747 (2017). "
    "MIT licence, Copyright (c) 2017 Zalando SE, https://tech.zalando.com"
)

_CIFAR10_CLASSES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)
_CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
    orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
    rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
    trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905
)
CIFAR100_COARSE = tuple(
    """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things
    large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals
    non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
    """.split()  # noqa: SIM905
)
_CIFAR_SOURCE = (
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009), "
    "https://www.cs.toronto.edu/~kriz/cifar.html"
)

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        # 12,000 images of Fashion-MNIST; its statistics are kept, so that a network trained on one
        # reads the other alike.
        DatasetInfo(
            name="bundled",
            classes=_FASHION_CLASSES,
            mean=(0.2860,),
            std=(0.3530,),
            source=_FASHION_SOURCE,
        ),
        DatasetInfo(
            name="fashion-mnist",
            classes=_FASHION_CLASSES,
            mean=(0.2860,),
            std=(0.3530,),
            source=_FASHION_SOURCE,
            base_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            system_folders=("/usr/share/datasets/fashion-mnist",),  # Debian: dataset-fashion-mnist
            sha256={
                "train-images-idx3-ubyte": (
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
                ),
                "train-labels-idx1-ubyte": (
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
                ),
                "t10k-images-idx3-ubyte": (
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
                ),
                "t10k-labels-idx1-ubyte": (
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
                ),
            },
        ),
        DatasetInfo(
            name="mnist",
            classes=tuple("0123456789"),
            mean=(0.1307,),
            std=(0.3081,),
            source=(
                "Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits"
            ),
            base_url="https://storage.googleapis.com/cvdf-datasets/mnist/",
            sha256={
                "train-images-idx3-ubyte": (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
                ),
                "train-labels-idx1-ubyte": (
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
                ),
                "t10k-images-idx3-ubyte": (
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
                ),
                "t10k-labels-idx1-ubyte": (
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
                ),
            },
        ),
        DatasetInfo(
            name="cifar10",
            classes=_CIFAR10_CLASSES,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            source=_CIFAR_SOURCE,
            base_url="https://www.cs.toronto.edu/~kriz/",
            archive="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
        ),
        DatasetInfo(
            name="cifar100",
            classes=_CIFAR100_CLASSES,
            mean=(0.5071, 0.4865, 0.4409),
            std=(0.2673, 0.2564, 0.2762),
            source=_CIFAR_SOURCE,
            base_url="https://www.cs.toronto.edu/~kriz/",
            archive="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
        ),
    )
}


def dataset_info(name: str) -> DatasetInfo:
    """The description of the data set `name`: "bundled", "fashion-mnist", "mnist", "cifar10" or "cifar100".

    Raises:
        ShapeError: there is no data set of that name.
    """
    info = DATASETS.get(name) if isinstance(name, str) else None
    if info is None:
        known = ", ".join(repr(n) for n in DATASETS)
        raise ShapeError(f"data: no data set is called {name!r}, expected one of {known}")
    return info


def class_names(name: str) -> tuple[str, ...]:
    """The class names of the data set `name`; label i is the i-th.

    Raises:
        ShapeError: there is no data set of that name.
    """
    return dataset_info(name).classes
