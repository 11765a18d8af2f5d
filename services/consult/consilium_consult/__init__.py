"""People and work: patients, consultations, reports with every change traced, signature and print."""
