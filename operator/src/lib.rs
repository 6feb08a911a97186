//! The operator: makes of each `WhatsAppDevice` a claim of its number, a volume, a pod and a status.
