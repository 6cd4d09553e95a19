class Refused(Exception):
    """What KFP's API server, compiler or driver would not accept, in words close to theirs."""
