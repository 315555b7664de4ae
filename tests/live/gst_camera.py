"""A real camera for the tests: gst-rtsp-server plays H.264 files. Runs in Debian's Python, whose bindings these are.

/usr/bin/python3 gst_camera.py PORT NAME=FILE … [user:password]
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    port, *rest = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_service(port)
    server.set_address("127.0.0.1")
    login = next((one for one in rest if "=" not in one), "")
    if login:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login.split(":")), token)
        server.set_auth(auth)
    for name, path in (one.split("=", 1) for one in rest if "=" in one):
        factory = GstRtspServer.RTSPMediaFactory()
        demuxer = "qtdemux" if path.endswith(".mp4") else "matroskademux"
        factory.set_launch(
            f"( filesrc location={path} ! {demuxer} ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )"
        )
        factory.set_shared(True)
        if login:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(f"/{name}", factory)
    server.attach(None)
    print("serving", flush=True)
    GLib.MainLoop().run()


main()
