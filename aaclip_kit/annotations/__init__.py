"""What people draw on images with annotation programs, and the masks that are made of it."""
