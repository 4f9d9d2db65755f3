"""Status tracker: streams of status updates in, one current status per entity out."""
