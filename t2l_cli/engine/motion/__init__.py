"""What moves how in a video: optical flow, the camera, the foreground and its path."""
