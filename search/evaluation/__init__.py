"""One candidate: built, checked, validated and measured."""
