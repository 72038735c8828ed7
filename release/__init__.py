"""`make dist`: what users install, built, checked, and installed as they would."""
