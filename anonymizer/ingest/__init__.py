"""Where pictures come from: files now; cameras and devices beside them."""
