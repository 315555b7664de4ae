"""What a video says of itself: camera, start, and that faces in it may be synthetic (AI Act Art. 50)."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

import anonymizer

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for captured media in which a trained model replaced parts."""
NOTICE = "Faces in this video may be synthetic: they were replaced to protect the people in it."
TOOL = f"anonymizer {anonymizer.__version__}"


def utc(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def xmp(camera: str, start: float) -> bytes:
    """An XMP packet (ISO 16684-1) with IPTC's digitalSourceType. start: UTC seconds."""
    text = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmp:CreateDate={quoteattr(utc(start))}
 xmp:CreatorTool={quoteattr(TOOL)} Iptc4xmpExt:DigitalSourceType={quoteattr(SOURCE_TYPE)}>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(camera)}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(NOTICE)}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
    return text.encode()
