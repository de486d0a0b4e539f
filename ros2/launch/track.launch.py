"""`ros2 launch trackstream_ros track.launch.py image:=/camera/image_raw config:=run.toml`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = {
    "image": ("/camera/image_raw", "topic of the images"),
    "compressed": ("false", "the topic has sensor_msgs/CompressedImage"),
    "config": ("", "TOML file of `tracker run`"),
    "model": ("", "ONNX file, or a name of `tracker models list`"),
    "tracker": ("", "system that associates, see `tracker systems`"),
    "state": ("", "file that keeps the ids over a restart of the node"),
}
"""Name -> default, meaning; every other parameter can be set in the TOML file."""


def generate_launch_description():
    """One node, that starts again when it ends."""
    node = Node(
        package="trackstream_ros",
        executable="track",
        name="tracker",
        output="screen",
        respawn=True,
        respawn_delay=2.0,
        remappings=[("image", LaunchConfiguration("image"))],
        parameters=[{name: LaunchConfiguration(name) for name in ARGUMENTS if name != "image"}],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, node])
