"""The packager: files become the delivery package, its manifest and its contact sheet."""
