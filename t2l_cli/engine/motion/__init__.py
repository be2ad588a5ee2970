"""Motion in a video: optical flow, the camera, the foreground and its path."""
