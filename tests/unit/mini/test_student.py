import torch

from mini.student import Student
from t2l_cli.weights.mini import create


def test_a_student_sees_and_reads_as_the_model_that_it_becomes() -> None:
    """Its short table of tokens and its short texts are shortcuts, no other model."""
    torch.manual_seed(0)
    student = Student()
    model, tokenizer = create()
    model.load_state_dict(student.clip_state())
    with torch.no_grad():
        picture = torch.rand(2, 3, 64, 64)
        seen = model.encode_image((picture - student.mean) / student.std)
        assert torch.allclose(student.see(picture, None)[0], seen, atol=1e-4)
        texts = ["a red cup", "a striped ball over a green screen"]
        assert torch.allclose(student.read(texts), model.encode_text(tokenizer(texts)), atol=1e-4)
