"""What has to be so before a run touches anything: windows, promotion, approval, no freeze."""
