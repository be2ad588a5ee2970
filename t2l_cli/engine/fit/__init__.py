"""From the frames of a video to an atlas."""
