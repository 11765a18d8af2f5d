"""The outside world: cv2, PyAV, aiortc, httpx2, folders and SQLite."""
