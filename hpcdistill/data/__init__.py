"""Image data: readers, preprocessing, sampling. Nothing here communicates."""
