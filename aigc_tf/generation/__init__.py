"""What the generate command does for each modality, one file each."""
