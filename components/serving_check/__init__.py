"""Asks a server about real pictures before a push: does it serve what was judged, and fast enough?"""
