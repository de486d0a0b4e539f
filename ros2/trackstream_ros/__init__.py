"""trackstream as a ROS 2 node: `node` is the part that needs ROS, the others do not."""
