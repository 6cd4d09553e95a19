"""Runs on this machine: a light parent shows what a child process, which imports TFX, does step by step."""
