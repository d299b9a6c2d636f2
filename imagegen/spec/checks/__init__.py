"""What single settings cannot show: one file for each subject."""
