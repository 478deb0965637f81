"""An HTTP service whose slow work is done by workers."""
