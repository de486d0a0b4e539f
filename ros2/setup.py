"""Build of the ament_python package; `package.xml` has what it needs."""

from setuptools import setup

PACKAGE = "trackstream_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Images in, tracks with stable ids and masks out: trackstream as a ROS 2 node",
    license="Apache-2.0",
    packages=[PACKAGE],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", ["launch/track.launch.py"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": [f"track = {PACKAGE}.node:main"]},
)
