"""The checks of ``epitaxy.audit``, one file per kind."""
