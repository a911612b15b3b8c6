"""Thin command lines, one module a verb: ``imlspike <verb>`` runs ``imlspike/bin/<verb>.py``."""
