"""``make demo``: a synthetic camera, the proxy in front of it, and a page that shows both."""
