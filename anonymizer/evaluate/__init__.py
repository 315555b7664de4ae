"""The proof: what anonymised footage gives away, keeps and costs. ``anonymizer evaluate`` runs it.

Pure metrics, on arrays: ``recall``, ``reidentify``, ``attack``, ``expression``, ``pixels``, ``statistics``. What
gathers for them from clips: ``excerpt``, ``scene``, ``coverage``, ``identity``, ``people``, ``utility``, ``stability``,
``cost``. What tells: ``figure``, ``plot``, ``sheet``, ``page``.
"""
